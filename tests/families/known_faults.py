from tests.families.entries import Family
from tests.families.parser_cases import Case
def fault_of(family: Family, case: Case, pieces: str) -> str | None:
    return None
