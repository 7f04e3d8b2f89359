"""The two roles of a database: one that writes rows, one that only reads.

Whoever connects takes the lesser role its work needs, so that no mistake in it can change the
schema, or anything at all where it only reads. What each role may do is in the schema itself, in
`grant_to_roles()`.
"""

from __future__ import annotations

from enum import StrEnum

from psycopg import sql


class Role(StrEnum):
    """What a session may do, by the name of the role it takes."""

    WRITER = "trisignal_writer"
    READER = "trisignal_reader"


def taking(role: Role) -> sql.Composed:
    """The statement that takes `role` for the rest of the session, if it can be had.

    It can't where the server has no such roles, where this database has granted them nothing, or
    where the user who connected isn't a member: the session then goes on as that user. A reader's
    session is read-only in any case.
    """
    return sql.SQL(
        """
        SET default_transaction_read_only = {read_only};
        SELECT set_config('search_path', replace(current_setting('search_path'), '"$user"',
                                                 quote_ident(session_user)), false),
               set_config('role', r.rolname, false)
        FROM pg_roles r
        WHERE r.rolname = {role}
          AND pg_has_role(r.oid, CASE WHEN current_setting('server_version_num')::integer >= 160000
                                      THEN 'SET' ELSE 'MEMBER' END)
          AND EXISTS (SELECT FROM pg_class c WHERE c.relname = 'trisignal_schema'
                      AND has_table_privilege(r.oid, c.oid, 'SELECT'))
        """
    ).format(role=sql.Literal(role.value), read_only=sql.Literal(role is Role.READER))
