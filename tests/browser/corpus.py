"""Text that must stay text: payloads that become a script, a style, a link or a formula wherever somebody forgets to escape."""

SCRIPTS = (
    "<script>window.__xss=1</script>",
    "</script><script>window.__xss=2</script>",
    "<ScRiPt>window.__xss=3</sCrIpT>",
    "<script >window.__xss=4</script >",
    "<img src=x: onerror=window.__xss=5>",
    "<svg onload=window.__xss=6>",
    "<svg/onload=window.__xss=7//",
    "<svg><script>window.__xss&#61;8</script></svg>",
    "<svg><animate onbegin=window.__xss=9 attributeName=x dur=1s>",
    "<details open ontoggle=window.__xss=10>",
    "<input autofocus onfocus=window.__xss=11>",
    "<iframe srcdoc='<script>parent.__xss=12</script>'></iframe>",
    "<video><source onerror=window.__xss=13></video>",
    "<style>@keyframes x{}</style><b style=animation-name:x onanimationstart=window.__xss=14>x</b>",
    "<body onload=window.__xss=15>",
    "<math><mi href=x></mi><annotation-xml encoding=text/html><img src=x: onerror=window.__xss=16>",
    "<audio src=x: onerror=window.__xss=17>",
    "<!--><img src=x: onerror=window.__xss=18>-->",
    "<template><s></template><img src=x: onerror=window.__xss=19>",
    "<noscript><p title='</noscript><img src=x: onerror=window.__xss=20>'>",
)
"""These run by themselves where they stand in a page as they are; `test_guards.py` shows that they do."""

IN_PLACES = (
    '"><script>window.__xss=21</script>',
    "'><script>window.__xss=22</script>",
    '" onmouseover="window.__xss=23" autofocus onfocus="window.__xss=23',
    "' autofocus onfocus='window.__xss=24",
    "`onfocus=window.__xss=25 autofocus",
    "javascript:window.__xss=26",
    "JaVaScRiPt:window.__xss=27",
    "java\tscript:window.__xss=28",
    "\x01javascript:window.__xss=29",
    "data:text/html,<script>window.__xss=30</script>",
    "//evil.example/%2e%2e",
    "https://evil.example/?</title><script>window.__xss=31</script>",
    "</title><script>window.__xss=32</script>",
    "</textarea><script>window.__xss=33</script>",
    "</select></option><script>window.__xss=34</script>",
    "</style><script>window.__xss=35</script>",
    "--><script>window.__xss=36</script><!--",
    "]]><script>window.__xss=37</script>",
    '\\";window.__xss=38;//',
    "'-(window.__xss=39)-'",
    "${window.__xss=40}",
    "red;background:url(https://evil.example/x)",
)
"""These need an attribute, a link, a script or a style around them."""

ODD = (
    "{{7*7}}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
    "#{7*7} <%= 7*7 %> ${7*7}",
    "＜script＞window.__xss=41＜/script＞",
    "\u202e>tpircs<1=ssx__.wodniw>tpircs/<",
    "&lt;script&gt;window.__xss=42&lt;/script&gt;",
    "&#60;script&#62;window.__xss=43&#60;/script&#62;",
    "+ADw-script+AD4-window.__xss=44+ADw-/script+AD4-",
    '=HYPERLINK("https://evil.example","x")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "%3Cscript%3Ewindow.__xss=45%3C/script%3E",
    "\u0000<script>window.__xss=46</script>",
)

PAYLOADS = (*SCRIPTS, *IN_PLACES, *ODD)
ALL = " ".join(PAYLOADS).replace("\u0000", "").replace("\x01", "")
"""Every payload in one text, for fields that are long."""
POLYGLOT = (
    "jaVasCript:/*'/*\"/*`--></noscript></title></textarea></style></template></select></script>"
    "<img src=x: onerror=window.__xss=50><svg/onload=window.__xss=51>{{7*7}}"
)
"""One text that breaks out of most places where a page may put it."""


def within(characters: int) -> tuple[str, ...]:
    """The payloads that a field of this length takes, without control characters."""
    return tuple(text for text in PAYLOADS if len(text) <= characters and text.isprintable())
