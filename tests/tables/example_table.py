"""A table of three columns, 2 x 3 x 7 codes."""

from arjax.tables.columns import Numbers, Words

SEX = Words("sex", ("m", "f"), (6, 4))
AGE = Numbers("age", 1.0, (0.0, 10.0, 30.0), (9.0, 29.0, 30.0), 15.0, 8.0, 1000, is_int=True)
WORK = Words("work", tuple("abcdefg"), (7, 6, 5, 4, 3, 2, 1))
COLUMNS = (SEX, AGE, WORK)
