"""What is measured, and what the table of limits needs of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scenario:
    name: str
    target: str = "l10k"
    kind: str = "load"
    mode: str = "warm"
    connections: int = 1
    cores: int = 1
    # Seconds between two scrapes of a target by Prometheus.
    interval: int = 0
    # The most rounds, where fewer are enough, or all take too long.
    rounds: int = 1000


# Rounds of what no limit depends on: bodies in chunks, and peers that are not the newest.
FEW_ROUNDS = 3

SCENARIOS = [
    *(Scenario(f"paced-{mode}", kind="paced", mode=mode, connections=5) for mode in ("warm", "cold")),
    Scenario("prometheus-1s", kind="prometheus", interval=1),
    Scenario("prometheus-15s", kind="prometheus", interval=15, rounds=1),
    Scenario("idle", kind="idle"),
    Scenario("herd", kind="herd", mode="cold"),
    Scenario("cold-l10k", mode="cold"),
    Scenario("cold-c10k", "c10k", mode="cold", rounds=FEW_ROUNDS),
    *(Scenario(f"keep-l{size}", f"l{size}") for size in ("10k", "1m", "20m")),
    *(Scenario(f"keep-c{size}", f"c{size}", rounds=FEW_ROUNDS) for size in ("10k", "1m", "20m")),
    Scenario("keep32-l10k", connections=32),
    Scenario("keep32-c10k", "c10k", connections=32, rounds=FEW_ROUNDS),
    Scenario("peak-l20m", "l20m", kind="peak", connections=8),
    Scenario("peak-c20m", "c20m", kind="peak", connections=8, rounds=FEW_ROUNDS),
    Scenario("life", kind="life"),
    *(Scenario(f"storm-{cores}", kind="storm", mode="cold", connections=16, cores=cores) for cores in (1, 2)),
]

# The keys of the newest peers (see debian.py).
NGINX, NGINX_RECONNECTING, HAPROXY = NEWEST = ("nginx-13", "nginx-reconnecting-13", "haproxy-13")

# Which peers the table of limits needs beside aegis: `--scenarios limits` measures no others.
LIMITS = {
    "paced-warm": NEWEST,
    "paced-cold": (NGINX,),
    "keep32-l10k": (NGINX_RECONNECTING,),
    "prometheus-1s": (NGINX, NGINX_RECONNECTING),
    "idle": (NGINX,),
    "herd": (NGINX,),
    "keep-l1m": (NGINX,),
    "keep-l20m": (NGINX,),
    "peak-l20m": (NGINX,),
    "life": (NGINX,),
    "storm-1": (NGINX,),
    "storm-2": (NGINX,),
}


def chosen(words):
    """The scenarios of a command line: starts of names with commas between, or `limits`."""
    if words == "limits":
        return [scenario for scenario in SCENARIOS if scenario.name in LIMITS]
    return [scenario for scenario in SCENARIOS if scenario.name.startswith(tuple(words.split(",")))]
