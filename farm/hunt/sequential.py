# SPDX-License-Identifier: GPL-2.0
"""How often a kernel must pass before a bug that shows once in N is said not to be in it.

A kernel without the bug never shows its failure: one showing decides, and a
test of a kernel ends there. A kernel with it passes with some chance, so that
passes decide only when there are enough of them. This is Wald's sequential
test for a rate p against a rate of zero, whose one open question is p. It is
measured at the bad end, where it is not known either; what follows bounds the
error for every p, with no assumption about it.

The bad end is tested until it has failed K times, which takes n attempts. For
c with (1 + c)^-K = e, another kernel is called good after

    m = c (n - K/2)

passes in a row, rounded up. Let it fail as often as the bad end does, and let
q = 1 - p. The chance that it is called good is the mean of q^m over n. n is a
sum of K waiting times, each with the generating function p z / (1 - q z), so

    E q^(c n) = (p q^c / (1 - q^(c+1)))^K

and, as sinh((c+1) x) >= (c+1) sinh(x) for q = exp(-2 x),

    p q^c / (1 - q^(c+1)) <= q^(c/2) / (c + 1)

which is, to the power of K and times q^(-c K/2), at most (1 + c)^-K = e.

A hunt says "good" several times and is wrong if one of them was wrong. Each
gets a share of the error that the user allows; the shares add up to no more
than that.
"""

import math

#: Failures of the bad end to wait for: K where it failed at once, and where it
#: took several attempts. Each failure costs a guest, passes are cheap; the more
#: failures, the fewer passes are needed of each later kernel.
FEW, MANY = 5, 10


def passes_needed(failures: int, attempts: int, error: float) -> int:
    """Passes in a row after which a kernel is good, where the bad end failed
    `failures` times in `attempts`, the last one included."""
    factor = math.exp(-math.log(error) / failures) - 1
    return max(1, math.ceil(factor * (attempts - failures / 2)))


def share(number: int, expected: int, error: float) -> float:
    """Of the error, what the `number`-th "good" of a hunt may take, from 1, where
    `expected` are expected. Those beyond share what one of these has."""
    one = error / (expected + 1)
    return one if number <= expected else one / 2 ** (number - expected)


def attempts_to_see(failures: int, attempts: int, confidence: float) -> int:
    """Attempts after which a bug with the measured rate has shown itself."""
    passing = 1 - failures / attempts
    return 1 if passing <= 0 else math.ceil(math.log(1 - confidence) / math.log(passing))


def rarest_seen(attempts: int, confidence: float) -> float:
    """The rate of the rarest failure that so many attempts would have shown."""
    return float(1 - (1 - confidence) ** (1 / attempts))
