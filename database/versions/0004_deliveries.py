"""How raw files were delivered: jobs, what the vendor says of each day, lead contracts in doubt.

Going down drops the tables: the raw folder tells it again, and so does the vendor.
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        ALTER TABLE raw_files
            ADD COLUMN IF NOT EXISTS job_id text,
            ADD COLUMN IF NOT EXISTS listed boolean,
            ADD COLUMN IF NOT EXISTS beside text NOT NULL DEFAULT '',
            ADD COLUMN IF NOT EXISTS in_time_order boolean;
        COMMENT ON COLUMN raw_files.in_time_order IS
            'Whether no bar opens before the one that precedes it in the file: such a file is read '
            'once, whatever the range. Null if nobody looked; it is then taken to be in no order.';
        COMMENT ON COLUMN raw_files.job_id IS
            'The vendor''s job that the file came from, as manifest.json or metadata.json beside '
            'it says; null where neither does.';
        COMMENT ON COLUMN raw_files.listed IS
            'Whether the manifest.json beside the file lists it; null where there is none.';
        COMMENT ON COLUMN raw_files.beside IS
            'Size and time of writing of what the vendor''s job left beside the file, when it was '
            'looked into: another value and it is looked into again. Empty if nothing is there.';

        CREATE TABLE raw_deliveries (
            folder text PRIMARY KEY,
            beside text NOT NULL,
            job_id text,
            dataset text,
            reason text,
            listed text[] NOT NULL DEFAULT '{}',
            catalogued_at timestamptz NOT NULL DEFAULT now()
        );
        COMMENT ON TABLE raw_deliveries IS
            'The folders below the raw folder in which a job of the vendor left a manifest.json, '
            'metadata.json or condition.json, and what these say.';
        COMMENT ON COLUMN raw_deliveries.folder IS 'Where they lie.';
        COMMENT ON COLUMN raw_deliveries.beside IS
            'Their sizes and times of writing when they were read.';
        COMMENT ON COLUMN raw_deliveries.job_id IS 'The job.';
        COMMENT ON COLUMN raw_deliveries.dataset IS 'Of which dataset the job was.';
        COMMENT ON COLUMN raw_deliveries.reason IS
            'What is wrong with them; the files beside them are then refused.';
        COMMENT ON COLUMN raw_deliveries.listed IS
            'The DBN files that the manifest lists, whether they are there or not.';
        COMMENT ON COLUMN raw_deliveries.catalogued_at IS 'When they were last read.';

        CREATE TABLE dataset_conditions (
            dataset text NOT NULL,
            date date NOT NULL,
            condition text NOT NULL,
            last_modified date,
            origin text NOT NULL,
            recorded_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (dataset, date)
        );
        COMMENT ON TABLE dataset_conditions IS
            'What the vendor says of the days of a dataset. Of two answers on a day the one with '
            'the later last_modified stands, whichever came first.';
        COMMENT ON COLUMN dataset_conditions.dataset IS 'The vendor''s dataset: GLBX.MDP3.';
        COMMENT ON COLUMN dataset_conditions.date IS 'The UTC date.';
        COMMENT ON COLUMN dataset_conditions.condition IS
            'available, degraded (known to be faulty), pending (still to come) or missing.';
        COMMENT ON COLUMN dataset_conditions.last_modified IS
            'When the vendor last changed the data of the date.';
        COMMENT ON COLUMN dataset_conditions.origin IS
            'Where it was read: the job of a condition.json, or databento_api.';
        COMMENT ON COLUMN dataset_conditions.recorded_at IS 'When it was read.';

        CREATE TABLE lead_contract_doubts (
            symbol text NOT NULL,
            date date NOT NULL,
            stored_contract text NOT NULL,
            lead_contract text NOT NULL,
            since timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (symbol, date)
        );
        COMMENT ON TABLE lead_contract_doubts IS
            'Stored dates that follow another contract than the raw files now say leads. A row '
            'goes when its date is materialised.';
        COMMENT ON COLUMN lead_contract_doubts.date IS 'The UTC date.';
        COMMENT ON COLUMN lead_contract_doubts.stored_contract IS
            'The contract of the stored bars.';
        COMMENT ON COLUMN lead_contract_doubts.lead_contract IS
            'The contract that leads by what the files hold now.';
        COMMENT ON COLUMN lead_contract_doubts.since IS 'When that was first seen.';
        """
    )


def downgrade() -> None:
    op.execute(
        """
        DROP TABLE lead_contract_doubts;
        DROP TABLE dataset_conditions;
        DROP TABLE raw_deliveries;
        """
    )
