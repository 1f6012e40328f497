"""Labels by the machine, with a guarantee: certificates, and the open tasks that they cover."""
