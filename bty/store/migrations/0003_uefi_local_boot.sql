-- How a script on UEFI has the local disk booted.
ALTER TABLE machines ADD COLUMN uefi_local_boot TEXT NOT NULL DEFAULT 'chain';  -- chain | exit-nonzero | exit
