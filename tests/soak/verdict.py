"""The verdict on a soak."""

MIB = 1 << 20


def judge(options, samples, scrapes, operator, services, world, panics, status):
    """All faults. Each begins with its subject."""
    faults = []
    if len(samples) < 3:
        faults.append(f"too short: {len(samples)} samples, and a slope needs 3")
    else:
        # Caches, pools and tables fill during the first third.
        settled = samples[len(samples) // 3 :]
        minutes = (settled[-1]["seconds"] - settled[0]["seconds"]) / 60
        for what, unit, most in (("memory", MIB, options.memory_growth), ("descriptors", 1, 3)):
            slope = slope_of([(one["seconds"] / 60, one[what] / unit) for one in settled])
            growth = slope * minutes
            print(f"{what}: {slope:+.3f} a minute, {growth:+.2f} in {minutes:.1f} minutes; at most {most:g}")
            if growth > most:
                faults.append(f"{what}: grew by {growth:.2f} in {minutes:.1f} minutes, at most {most:g}")
        threads = {one["threads"] for one in samples}
        print(f"threads: {sorted(threads)}")
        if len(threads) > 1:
            faults.append(f"threads: the number changed: {sorted(threads)}")
    unexplained = [failure for failure in scrapes.failures if not services.was_away(*failure[:3])]
    print(f"good scrapes: {scrapes.good}, and {len(scrapes.failures) - len(unexplained)} failed while their service was away")
    faults += [f"scrape: of {path} failed after {ended - begun:.2f} s: {why}" for path, begun, ended, why in unexplained[:5]]
    if len(unexplained) > 5:
        faults.append(f"scrape: {len(unexplained) - 5} more failed")
    # aegis closes a connection after an hour.
    print(f"kept connections that were closed: {scrapes.closed}")
    if scrapes.closed > 5 + options.minutes:
        faults.append(f"scrape: {scrapes.closed} connections were closed that should have stayed open")
    if not scrapes.good:
        faults.append("scrape: none was good")
    print(f"panics: {panics:.0f}; log: {world.log.lines} lines, {dict(world.log.messages)}")
    if panics:
        faults.append(f"panics: {panics:.0f}")
    print(f"scrapers added and removed, or revoked: {operator.tightened}")
    if not operator.tightened:
        faults.append("reload: no scraper was removed or revoked")
    faults += [f"reload: {fault}" for fault in operator.faults]
    faults += [f"log: {line}" for line in world.log.unknown]
    if not (world.log.messages["reloaded"] and world.log.messages["not reloaded"]):
        faults.append("log: a good or a broken reload is missing")
    if status != 0:
        faults.append(f"end: {status}\n    " + "\n    ".join(world.log.last))
    return faults


def slope_of(points):
    """The slope, by least squares."""
    count = len(points)
    mean_x, mean_y = (sum(values) / count for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
