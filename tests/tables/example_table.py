"""A table of three columns, 2 x 3 x 7 codes."""

from arjax.data.columns import Words
from arjax.tables.columns import Numbers

SEX = Words("sex", ("m", "f"))
AGE = Numbers("age", 1.0, (0.0, 10.0, 30.0), (9.0, 29.0, 30.0), 15.0, 8.0, 1000, is_int=True)
WORK = Words("work", tuple("abcdefg"))
COLUMNS = (SEX, AGE, WORK)
