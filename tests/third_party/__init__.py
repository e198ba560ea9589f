"""An outsider's plugins: made, installed from wheels, and tested like ours."""
