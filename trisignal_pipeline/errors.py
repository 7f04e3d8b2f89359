"""Everything that can go wrong, as a tree of classes.

Whether to try again is a property of the class, never of the text: a `TransientError` may pass by
itself, a `TerminalError` won't until somebody changes something. A message says what is wrong,
where (file, symbol, minute), and what to do next.

    TrisignalError
      TransientError
        DatabaseUnavailableError      the server can't be reached or went away
        TableLockedError              another session holds a table for too long
        DatabaseBusyError             all connections that readers share stayed in use
        StatementTooLongError         a reading statement took longer than it may
        SymbolBusyError               another run holds the symbol
        FileChangedError              a file was replaced while it was being read
        ApiUnavailableError           the Databento API is away, busy, or broke off in mid-answer
      TerminalError
        ConfigurationError            a setting that can't be used
        NotPermittedError             something that the database's user may not do
        UnknownSymbolError            a symbol that is not in the registry
        SymbolError                   a symbol that is malformed or can't be mapped
        RangeError                    a date range that makes no sense
          NotAMinuteError             an instant that is not the start of a minute
        NotFoundError                 something that isn't stored
        RefusedFileError              a file that is not what it must be
        MissingFileError              a file that isn't there any more
        LeadContractError             a roll rule that can't be applied to this input
        InvalidBarsError              columns that can't be a series of bars
        CalendarError                 a calendar question that has no answer
        SchemaVersionError            a database whose schema the code doesn't know
        EmbeddedServerError           the embedded PostgreSQL can't be set up
        WrongRunError                 a Dagster run that was launched in a way that can't work
        ApiRefusedError               the Databento API says no
        WrongDeliveryError            what the Databento API sent isn't what was asked for
        BudgetError                   what is to be bought costs more than may be spent
"""


class TrisignalError(Exception):
    """The root of every error this project raises on purpose."""


class TransientError(TrisignalError):
    """May pass: trying the same again can succeed."""


class TerminalError(TrisignalError):
    """Won't pass: something has to be changed first."""


class DatabaseUnavailableError(TransientError):
    """The PostgreSQL server can't be reached, or went away in mid-work."""


class TableLockedError(TransientError):
    """Another session holds what a statement needs, and did not let go in time."""


class DatabaseBusyError(TransientError):
    """All connections that readers share stayed in use."""


class StatementTooLongError(TransientError):
    """A reading statement took longer than it may, and was ended."""


class SymbolBusyError(TransientError):
    """Another run is writing this symbol."""


class FileChangedError(TransientError):
    """A file was replaced or grew while it was being read."""


class ApiUnavailableError(TransientError):
    """The Databento API is away, busy, or broke off in mid-answer. It may ask for a pause."""

    def __init__(
        self, message: str, *, retry_after_seconds: float | None = None, is_free: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds
        self.is_free = is_free  # it said so instead of sending data, so none is billed


class ConfigurationError(TerminalError):
    """A setting that can't be used."""


class NotPermittedError(TerminalError):
    """Something that the user of the database may not do."""


class UnknownSymbolError(TerminalError):
    """A symbol that is not in the registry."""


class SymbolError(TerminalError):
    """A symbol that is malformed, or that can't be mapped to another symbology."""


class RangeError(TerminalError):
    """A range of dates or minutes that makes no sense."""


class NotAMinuteError(RangeError):
    """An instant that lies within a minute, where the start of one is asked for."""


class NotFoundError(TerminalError):
    """Something that was asked for and isn't stored."""


class RefusedFileError(TerminalError):
    """A file that is not what it must be. The message is the reason, in one line."""


class MissingFileError(TerminalError):
    """A file that the catalogue knows and the raw folder no longer holds."""


class LeadContractError(TerminalError):
    """A roll rule that can't be applied to the input at hand."""


class InvalidBarsError(TerminalError):
    """Columns that can't be a series of bars."""


class CalendarError(TerminalError):
    """A question to the trading calendar that has no answer."""


class SchemaVersionError(TerminalError):
    """The database's schema is older or newer than the code."""


class EmbeddedServerError(TerminalError):
    """The embedded PostgreSQL can't be set up or started on this machine."""


class WrongRunError(TerminalError):
    """A Dagster run that was launched in a way that can't give a right result."""


class ApiRefusedError(TerminalError):
    """The Databento API says no: a bad key, an unknown symbol, a range it doesn't have."""


class WrongDeliveryError(TerminalError):
    """What the Databento API sent is not what was asked for."""


class BudgetError(TerminalError):
    """What is to be bought costs more than may be spent. Nothing of it was bought."""
