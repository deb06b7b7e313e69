"""The wordings in which people ask about cities, as regular expressions of lower-case text."""

from __future__ import annotations

import re

INTRODUCTION = re.compile(
    r"^(?:.*\b(?:next|following|another|first) question\b[^:?]*[:,]|(?:question|q\d*|guess)\s*:|"
    r"based on [^:?]*?[:,]|"
    r"(?:okay|ok|great|alright|sure|hmm|interesting|thank you|thanks)[^a-z]+|\d+[.)])\s*"
)
CITY = re.compile(
    r"\b(?:your|the|this|that|his|her) (?:own )?(?:home ?town|home city|native city|native town|"
    r"city"
    r" or town|city|town|birthplace|birth city|hidden city|place)"
    r"(?: (?:that |which |where )?(?:you are|you're|you were|you) (?:currently )?"
    r"(?:(?:born|living|live|grew up|raised|reside|originally)(?: (?:in|from))?|come from|from|"
    r"thinking of|referring to|describing|talking about|in|hail from))?"
)
GUESS = re.compile(
    r"^(?:is it|it is|it's|is CITY|is CITY called|is CITY named|is the name of CITY|i think "
    r"(?:that )?"
    r"(?:it is|it's|CITY is|you are from)|i guess(?: that)?(?: it is| it's| CITY is| you are "
    r"from)?|"
    r"(?:so )?(?:are|were) you (?:originally )?from|do you come from|my (?:final )?guess is(?: that"
    r" it is| that CITY is)?|could (?:it|CITY) be|would (?:it|CITY) be|are you (?:referring to|"
    r"thinking of|talking about)|does CITY happen to be|is CITY by any chance) +"
)
DIRECTION = (
    r"(?P<way>(?:north|south)[ -]?(?:eastern|western|east|west)|northern|southern|eastern|western|"
    r"central|north|south|east|west|middle|center|centre|heart)"
)


def _compiled(patterns: dict[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), kind) for pattern, kind in patterns.items()]


OPEN = _compiled(
    {
        r"\bwhat (?:is|was) (?:the )?name\b(?! of the river)(?!.*\b(?:river|landmark|lake|"
        r"airport)\b)": "refused",
        r"\b(?:languages?)\b.*\b(?:spoken|speak|used)|\bwhat\b.*\blanguages?\b": "language",
        r"\b(?:cuisine|dish|dishes|food|foods|delicac|specialt)\w*\b": "dishes",
        r"\b(?:climate|weather|temperatures?|seasons)\b": "climate",
        r"\bpopulation\b|\bhow many (?:people|inhabitants|residents)\b|\bhow (?:big|large) is "
        r"CITY": "population",
        r"\breligio\w+|\bfaiths?\b": "religion",
        r"\b(?:currency|money)\b": "currency",
        r"\brivers?\b": "river",
        r"\bwh(?:at|ich) continent\b": "continent",
        r"\bwh(?:at|ich) country\b|\bwhere (?:is|are) (?:CITY|you)\b": "country",
        r"\bwh(?:at|ich) (?:state|province|region|department|prefecture|island|part)\b": "province",
        r"\bgeograph\w+ (?:location|position|features?)|\blocation of CITY|\bgeography\b|"
        r"\bterrain\b|\blandscape\b": "location",
        r"\b(?:altitude|elevation|above sea level)\b": "elevation",
        r"\b(?:landmarks?|attractions?|monuments?|places to visit|sites?|buildings?|tourist|"
        r"sights)\b": "landmark",
        r"\b(?:industry|industries|economy|economic|jobs|export\w*)\b": "industry",
        r"\b(?:known|famous|renowned|popular|best known) for\b|\bunique about\b|\bspecial "
        r"about\b": "fame",
        r"\b(?:coastal?|ocean|sea|body of water|bodies of water|landlocked|inland|"
        r"coastline)\b": "water",
        r"\bmountains?\b": "mountains",
        r"\bhemisphere\b": "hemisphere",
        r"\b(?:museums?|galler\w+|universit\w+|festivals?|music|sports?|nightlife|histor\w+|art|"
        r"arts|architectur\w+|transport\w*|metro|subway)\b": "scene",
    }
)
SCENES = re.compile(
    r"museum|galler|universit|festival|music|sport|nightlife|histor|architectur|transport|metro|"
    r"subway|\barts?\b"
)
NUMBER = r"(?P<number>\d[\d,]*(?:\.\d+)?)(?: ?(?P<unit>million|thousand|billion|m\b))?"
MORE = r"(?:more|greater|larger|bigger|higher|over|above|exceed\w*|at least|excess)"
LESS = r"(?:less|fewer|smaller|lower|under|below|at most)"
COAST_WORDS = re.compile(
    r"\b(?:coast|coastal|coastline|sea|seaside|ocean|shore|body of water|beach|waterfront|"
    r"harbou?r)\b"
)
SIGHTS = re.compile(
    r"(?:famous|any|specific|notable|iconic|well-known) (?:tourist )?"
    r"(?:landmark|attraction|monument)"
)
HAVING = re.compile(
    r"known|famous|renowned|popular|have|has|home to|host|there|considered|major|center|centre|hub|"
    r"important"
)
WATER = re.compile(
    r"\b(atlantic|pacific|indian ocean|mediterranean|black sea|caribbean|arabian sea|baltic|"
    r"yellow sea|east china sea|south china sea|java sea|bay of bengal|persian gulf|red sea|"
    r"caspian|aegean|adriatic|gulf of mexico|gulf of thailand|bohai|sea of marmara|sea of japan|"
    r"north sea|arctic)\b"
)
