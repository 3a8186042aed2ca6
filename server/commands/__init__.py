"""The subcommands of `smallfirst`, one module each; `server.cli` lists them."""
