"""The known-answer benchmark: networks whose algorithm was put there, and what is said of them."""

from coset_circuits.benchmark.known_answers import Case, known_cases
from coset_circuits.benchmark.selftest import Answer, Judgement, SelfTest, judged, selftest

__all__ = ["Answer", "Case", "Judgement", "SelfTest", "judged", "known_cases", "selftest"]
