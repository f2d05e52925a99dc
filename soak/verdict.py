"""Whether all of it was well."""

MIB = 1 << 20


def judge(options, looks, scraper, operator, services, world, panics, ended):
    """Everything that is not well; each fault begins with what it is about."""
    faults = []
    if len(looks) < 3:
        faults.append(f"too short: {len(looks)} looks, and no slope can be seen in fewer than 3")
    else:
        # The first third is for caches, pools and tables to fill.
        settled = looks[len(looks) // 3 :]
        minutes = (settled[-1]["seconds"] - settled[0]["seconds"]) / 60
        for what, unit, most in (("memory", MIB, options.memory_growth), ("descriptors", 1, 3)):
            slope = slope_of([(one["seconds"] / 60, one[what] / unit) for one in settled])
            growth = slope * minutes
            print(f"{what}: {slope:+.3f} a minute, {growth:+.2f} in {minutes:.1f} minutes; at most {most:g}")
            if growth > most:
                faults.append(f"{what}: grew by {growth:.2f} in {minutes:.1f} minutes, at most {most:g}")
        threads = {one["threads"] for one in looks}
        print(f"threads: {sorted(threads)}")
        if len(threads) > 1:
            faults.append(f"threads: not always as many: {sorted(threads)}")
    unexplained = [one for one in scraper.failed if not services.was_away(*one[:3])]
    print(f"good scrapes: {scraper.good}, and {len(scraper.failed) - len(unexplained)} failed while their service was away")
    faults += [f"scrape: of {service} failed after {until - begun:.2f} s: {why}" for service, begun, until, why in unexplained[:5]]
    if len(unexplained) > 5:
        faults.append(f"scrape: {len(unexplained) - 5} more")
    # Connections are closed at their age, an hour.
    print(f"connections found closed when they were used again: {scraper.closed}")
    if scraper.closed > 5 + options.minutes:
        faults.append(f"scrape: {scraper.closed} connections were closed that should have stayed open")
    if not scraper.good:
        faults.append("scrape: none was good")
    print(f"panics: {panics:.0f}; log: {world.log.lines} lines, {dict(world.log.messages)}")
    if panics:
        faults.append(f"panics: {panics:.0f}")
    faults += [f"reload: {one}" for one in operator.unmended]
    faults += [f"log: {line}" for line in world.log.unknown]
    if not (world.log.messages["reloaded"] and world.log.messages["not reloaded"]):
        faults.append("log: no reload, or no broken one, was seen")
    if ended != 0:
        faults.append(f"end: {ended}\n    " + "\n    ".join(world.log.last))
    return faults


def slope_of(points):
    """By least squares."""
    count = len(points)
    mean_x, mean_y = (sum(values) / count for values in zip(*points))
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0
