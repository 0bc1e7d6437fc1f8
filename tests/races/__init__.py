"""Two hosts on one PostgreSQL decide about the same thing at the same moment, thousands of times.

    make races RACES="--rounds 5000 --game threads"

Each game sets something up, has both hosts act on it at once, and asks whether what is left is what one after the
other would have made. With --unlocked nobody waits for anybody: then most games must go wrong, or they prove nothing.
"""
