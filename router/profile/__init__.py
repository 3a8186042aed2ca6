"""What each model's upstream does not take, how it spells things, and what it wants: declared or learned."""
