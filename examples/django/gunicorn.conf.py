"""gunicorn, as a site runs it: the application is loaded once, and two workers are forked
from it.
"""

preload_app = True
workers = 2
graceful_timeout = 20
control_socket_disable = True  # several sites of one user would share its path
