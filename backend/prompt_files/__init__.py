"""What a file says, whatever its form: tasks as Label Studio imports them."""
