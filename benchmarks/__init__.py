"""overseer measured beside a plain Autobahn server: ratios in one run, never absolute figures."""
