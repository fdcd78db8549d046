"""The unattended flasher: plan, inventory, flash or report, receipt."""
