# mypy: ignore-errors
# Written as a site writes it, without types; it runs in the environment of the predecessor, too.
"""Eight settings in the forms that are found in production; each returns `(backends,
processors)`.
"""

ROUTER = "eventtracking.backends.routing.RoutingBackend"
ASYNC_ROUTER = "eventtracking.backends.async_routing.AsyncRoutingBackend"
LOGGER = "eventtracking.backends.logger.LoggerBackend"
MONGO = "eventtracking.backends.mongodb.MongoBackend"
SEGMENT = "eventtracking.backends.segment.SegmentBackend"
REGEX = "eventtracking.processors.regex_filter.RegexFilter"
WHITELIST = "eventtracking.processors.whitelist.NameWhitelistProcessor"


def node(engine, **options):
    """One node of the settings."""
    return {"ENGINE": engine, "OPTIONS": options}


def site(name, **options):
    """One node with a class of the site's own."""
    return (
        {"ENGINE": f"site_code.{name}", "OPTIONS": options}
        if options
        else {"ENGINE": f"site_code.{name}"}
    )


def tracking_logs():
    """The router of the tracking log with two processors of the site."""
    log = node(LOGGER, name="tracking", max_event_size=50000)
    return node(ROUTER, backends={"logger": log}, processors=[site("OlderShape"), site("Prefixer")])


def platform():
    """1: a tracking log with two site processors, and Segment behind an empty whitelist."""
    whitelist = node(WHITELIST, whitelist=[])
    segment = node(
        ROUTER, backends={"segment": {"ENGINE": SEGMENT}}, processors=[whitelist, site("Prefixer")]
    )
    return {"tracking_logs": tracking_logs(), "segmentio": segment}, []


def flat():
    """2: one logger with a global processor, and the site's own database backend beside it."""
    return {"logger": node(LOGGER, name="tracking"), "database": site("RowBackend")}, [
        site("Scrubber", keys=("ip",))
    ]


def merged():
    """3: backends merged into the dict at load, and a whitelist extended by position."""
    backends, processors = platform()
    backends["tracking_logs"]["OPTIONS"]["backends"].update(
        {"extra": site("Recorder", tag="extra")}
    )
    backends["segmentio"]["OPTIONS"]["backends"] = {"stand_in": site("Recorder", tag="segment")}
    backends["segmentio"]["OPTIONS"]["processors"][0]["OPTIONS"]["whitelist"] += ["course.enrolled"]
    return backends, processors


def mongo(host="localhost", port=27017):
    """4: MongoDB beside a logger, its host a list; and once more, behind a site's processor, its
    host a URI.
    """
    store = node(
        MONGO, host=[host], port=port, database="track", collection="events", extra={"w": 1}
    )
    by_uri = {**store["OPTIONS"], "host": f"mongodb://{host}/?appname=track", "collection": "older"}
    older = node(ROUTER, backends={"store": {**store, "OPTIONS": by_uri}})
    older["OPTIONS"]["processors"] = [site("OlderShape")]
    return {"logger": node(LOGGER, name="tracking"), "mongo": store, "older": older}, []


def transformer():
    """5: an asynchronous router with a whitelist given as a set, and two site routers below it."""
    routers = {
        "caliper": site(
            "SiteRouter", processors=[site("Splitter")], backend_name="caliper", tag="caliper"
        ),
        "xapi": site("SiteRouter", processors=[site("Splitter")], backend_name="xapi", tag="xapi"),
    }
    whitelist = node(WHITELIST, whitelist={"course.enrolled", "problem.answered"})
    options = {"backend_name": "event_transformer", "processors": [whitelist], "backends": routers}
    return {
        "event_transformer": node(ASYNC_ROUTER, **options),
        "tracking_logs": tracking_logs(),
    }, []


def two_async():
    """6: two asynchronous routers at the root, each with its own filter by patterns."""

    def router(name, filter_type, *patterns):
        chain = [node(REGEX, filter_type=filter_type, regular_expressions=list(patterns))]
        below = {"inner": site("Recorder", tag=name)}
        return node(ASYNC_ROUTER, backend_name=name, processors=chain, backends=below)

    allowed = router("allowed", "allowlist", r"course\.", "problem.answered$")
    return {"allowed": allowed, "others": router("others", "blocklist", r"^course\..*")}, []


def appended():
    """7: another app appends to the list of processors while apps load (see appending_app.py)."""
    backends, processors = platform()
    backends["tracking_logs"]["OPTIONS"]["processors"].append(
        site("Prefixer", prefixes=("edx.",), prefix="again.")
    )
    return backends, processors


def in_memory():
    """8: the in-memory backend of a test suite."""
    return {"mem": site("InMemoryBackend")}, []


def shaped():
    """Beyond the eight: events of another shape pass Celery, and reach a logger behind a router
    with a filter.
    """
    log = node(LOGGER, name="tracking", max_event_size=50000)
    inner = node(
        ROUTER,
        backends={"logger": log},
        processors=[node(WHITELIST, whitelist=("course.enrolled", "no.data"))],
    )
    outer = node(
        ASYNC_ROUTER,
        backend_name="outer",
        backends={"inner": inner, "own": site("Recorder", tag="own")},
    )
    return {"outer": outer}, [site("OlderShape")]


def subclassed():
    """Beyond the eight: a site's classes build on the predecessor's, and its code looks at the tree
    of the tracker.
    """

    def own(kind, **options):
        return {"ENGINE": f"site_subclasses.{kind}", "OPTIONS": options}

    names = node(WHITELIST, whitelist=("course.enrolled", "no.data", "problem.answered.late"))
    patterns = own("Patterns", filter_type="blocklist", regular_expressions=["plain"])
    log = node(LOGGER, name="tracking", max_event_size=50000)
    short = own("ShortLog", name="tracking", max_event_size=400)
    chain = [names, own("Names", whitelist={"no.data", "problem.answered.late", "course.enrolled"})]
    named = node(
        ROUTER,
        backends={"log": log, "short": short, "kept": site("Recorder", tag="kept")},
        processors=chain,
    )
    router = own("Router", backends={"below": site("Recorder", tag="below")}, processors=[patterns])
    return {"named": named, "own": router}, []


LAYOUTS = {
    function.__name__: function
    for function in (
        platform,
        flat,
        merged,
        mongo,
        transformer,
        two_async,
        appended,
        in_memory,
        shaped,
        subclassed,
    )
}
