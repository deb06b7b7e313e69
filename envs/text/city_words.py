"""Words of questions about cities: what people call the things that the table knows."""

from __future__ import annotations

KNOWN_FOR: dict[str, str] = {
    # a pattern of the thing asked for: tags of the table, any of which makes the answer yes
    r"beach|seaside resort|surfing": "beaches",
    r"night ?life|nightclub|\bbars?\b|\bclubs\b": "nightlife, bars",
    r"street art|graffiti|mural": "street art, murals",
    r"street food": "street food, food",
    r"seafood": "seafood",
    r"cuisine|food|culinary|gastronom|restaurant|dish": "food, street food, seafood, spicy",
    r"carnival": "carnival",
    r"festival|celebration": "festival, carnival",
    r"sky ?scraper|skyline|tall buildings|high-?rise|modern architecture": "skyscrapers",
    r"architectur": "architecture, skyscrapers, history, palaces, churches, mosques, temples, colonial",
    r"football|soccer": "football",
    r"sport": "football, sports, cricket, olympics, cycling, skiing",
    r"olympic": "olympics",
    r"music|concert|jazz|opera": "music, dance",
    r"\bdanc|tango|salsa|samba": "dance, salsa, carnival",
    r"theat(?:er|re)|performing art|broadway": "theatre, ballet",
    r"ballet": "ballet",
    r"film|movie|cinema|hollywood|bollywood|entertainment industry": "film",
    r"fashion": "fashion",
    r"museum|art galler": "museums",
    r"arts? and cultur|arts? scene|cultural scene|arts\b|artistic|art\b": (
        "art, museums, theatre, street art, murals, music, literature, film"
    ),
    r"literatur|writer|poet|novel": "literature",
    r"universit|educat|academic|college": "universities",
    r"tech\b|technolog|software|silicon|\bit industry|start-?up|innovation": "tech, innovation, space",
    r"financ|banking|stock exchange|business (?:center|centre|hub|district)|economic hub": "finance",
    r"automo|car (?:industry|manufactur)|car production": "automotive",
    r"textile|garment|cotton|silk industry": "textile",
    r"steel|manufactur|industr|factor": "industry, automotive, textile, coal, leather",
    r"oil\b|petroleum": "oil",
    r"coffee": "coffee",
    r"\btea\b": "tea",
    r"beer|brewer": "beer",
    r"wine": "wine",
    r"\bport\b|harbou?r|maritime|shipping|\bdocks?\b": "port",
    r"bridge": "bridge",
    r"canal|waterway": "canals",
    r"castle": "castle",
    r"fort\b|fortress|\bforts\b|citadel": "forts",
    r"palace|royal": "palaces",
    r"temple|pagoda|shrine": "temples, mosques, pilgrimage",
    r"mosque": "mosques",
    r"church|cathedral|monaster": "churches",
    r"pyramid": "pyramids",
    r"ancient|ruins|archaeolog|archeolog": "ancient, pyramids, silk road, wall",
    r"city wall|great wall|\bwall\b": "wall",
    r"unesco|world heritage": "unesco",
    r"colonial": "colonial",
    r"histor|heritage|monument|landmark": (
        "history, ancient, palaces, unesco, colonial, forts, monuments, castle, wall, temples, "
        "mosques, churches, pyramids"
    ),
    r"market|bazaar|souk": "markets",
    r"shopping|malls?\b": "shopping, markets, fashion",
    r"botanical|garden": "gardens",
    r"\bparks?\b|green space": "parks, gardens",
    r"subway|metro\b|underground railway": "metro",
    r"traffic|congest": "traffic",
    r"pollut|smog": "pollution",
    r"earthquake": "earthquakes",
    r"multicultur|diverse|immigra|melting pot|cosmopolitan|ethnic": "immigrants",
    r"\bski|winter sport": "skiing",
    r"panda": "pandas",
    r"batik|handicraft|craft|pottery|ceramic": "crafts, batik, ceramics, carpets",
    r"cigar|tobacco": "cigars",
    r"pilgrim|religious|spiritual": "pilgrimage, mosques, temples, churches",
    r"cricket": "cricket",
    r"silk road": "silk road",
    r"thermal|hot spring|baths?\b|spa\b|springs": "baths, springs",
    r"ice sculpture|snow": "ice",
    r"aerospace|space (?:center|centre|program)|nasa": "space, aerospace",
    r"slum|favela": "slums",
    r"fountain": "fountains, springs",
}

REGIONS: dict[str, str] = {
    "southeastern asia": "southeast asia",
    "south-east asia": "southeast asia",
    "south east asia": "southeast asia",
    "southern asia": "south asia",
    "eastern asia": "east asia",
    "northeast asia": "east asia",
    "far east": "east asia",
    "the far east": "east asia",
    "western asia": "western asia",
    "west asia": "western asia",
    "northern africa": "north africa",
    "western africa": "west africa",
    "eastern africa": "east africa",
    "middle africa": "central africa",
    "near east": "middle east",
    "korean peninsula": "korean peninsula",
    "latin america": "latin america",
    "americas": "americas",
    "caribbean region": "caribbean",
    "balkan peninsula": "balkans",
    "western europe": "western europe",
    "central america": "central america",
    "eurasia": "eurasia",
    "northern europe": "northern europe",
    "scandinavia": "scandinavia",
    "antarctica": "antarctica",
    "southern africa": "southern africa",
    "sub saharan africa": "sub-saharan africa",
    "australasia": "australasia",
    "australian continent": "oceania",
    "european continent": "europe",
    "african continent": "africa",
    "asian continent": "asia",
    "european union": "european union",
}

EUROPEAN_UNION = frozenset({"Germany", "Spain", "Italy", "France", "Romania", "Hungary"})

ELSEWHERE = frozenset(
    """afghanistan albania algeria andorra angola armenia austria azerbaijan bahamas bahrain barbados
    belarus belgium belize benin bhutan bolivia botswana brunei bulgaria burundi cambodia cameroon
    chad comoros croatia cyprus denmark djibouti dominica eritrea estonia eswatini fiji finland gabon
    gambia georgia ghana greece greenland grenada guatemala guinea guyana haiti honduras iceland
    ireland israel jamaica jordan kazakhstan kenya kiribati kosovo kuwait kyrgyzstan laos latvia
    lebanon lesotho liberia libya liechtenstein lithuania luxembourg madagascar malawi malaysia
    maldives mali malta mauritania mauritius moldova monaco mongolia montenegro mozambique namibia
    nauru nepal netherlands nicaragua niger nigeria norway oman palau palestine panama paraguay
    poland portugal qatar rwanda samoa scotland senegal serbia seychelles slovakia slovenia somalia
    sudan suriname sweden switzerland syria tajikistan tanzania togo tonga tunisia turkmenistan
    uganda uruguay vanuatu wales yemen zambia zimbabwe hawaii macau tibet""".split()
) | {
    "bosnia and herzegovina",
    "burkina faso",
    "cape verde",
    "central african republic",
    "costa rica",
    "czech republic",
    "dominican republic",
    "el salvador",
    "equatorial guinea",
    "new zealand",
    "north macedonia",
    "papua new guinea",
    "puerto rico",
    "saudi arabia",
    "sierra leone",
    "south africa",
    "south sudan",
    "sri lanka",
    "united arab emirates",
    "uae",
    "the uae",
    "northern ireland",
}

DIRECTIONS: dict[str, frozenset[str]] = {
    "north": frozenset({"N", "NE", "NW"}),
    "south": frozenset({"S", "SE", "SW"}),
    "east": frozenset({"E", "NE", "SE"}),
    "west": frozenset({"W", "NW", "SW"}),
    "northeast": frozenset({"NE"}),
    "northwest": frozenset({"NW"}),
    "southeast": frozenset({"SE"}),
    "southwest": frozenset({"SW"}),
    "central": frozenset({"C"}),
}

CLIMATES: dict[str, str] = {
    "tropical": "It is hot all year round, with wet months and drier ones.",
    "subtropical": "It has hot, humid summers and mild winters.",
    "continental": "It has four seasons, with warm summers and cold winters.",
    "temperate": "It is mild, neither very hot nor very cold.",
    "mediterranean": "It has dry, warm summers and mild, wetter winters.",
    "arid": "It is a desert climate, dry and hot.",
    "semi-arid": "It is rather dry, with hot summers.",
    "highland": "It is mild and cool all year round because of the altitude.",
}

LARGEST = frozenset(
    """Seoul|Sao Paulo|Jakarta|Karachi|Moscow|Istanbul|Mexico City|Shanghai|Tokyo|New York|Bangkok|
    London|Hong Kong|Cairo|Tehran|Bogota|Lima|Santiago|Singapore|Sydney|Baghdad|Dhaka|Berlin|
    Ho Chi Minh City|Buenos Aires|Casablanca|Madrid|Pyongyang|Kinshasa|Rome|Kyiv|Yangon|Toronto|
    Addis Ababa|Havana|Paris|Tashkent|Bucharest|Quezon City|Abidjan|Budapest|Caracas""".replace(
        "\n    ", ""
    ).split("|")
)
"""Cities with the most inhabitants of their country."""
