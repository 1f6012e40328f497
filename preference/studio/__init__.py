"""Label Studio as an API: projects, tasks, accounts, backends, webhooks, and calls that are repeated."""
