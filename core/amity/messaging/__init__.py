"""What happens to messages between a channel and the database, and what they are made of."""
