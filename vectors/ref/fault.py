"""Faults and their classes (§ 8.3)."""

EXIT = {"magic": 10, "version": 11, "header": 12, "no-key": 13, "limit": 14, "auth": 15, "context": 16,
        "truncated": 17, "trailing": 18, "content": 19, "damaged-copy": 20, "skew": 21}  # § 8.3


class Fault(Exception):
    """What a reader reports: a class of § 8.3, and for people, why."""

    def __init__(self, cls, why):
        super().__init__(f"{cls}: {why}")
        self.cls = cls


def check(good, cls, why):
    if not good:
        raise Fault(cls, why)
