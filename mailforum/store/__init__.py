"""Everything kept. The only folder that knows SQL."""
