"""The subcommands of `smallfirst`."""
