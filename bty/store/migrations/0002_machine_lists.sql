-- What an operator's list of machines is filtered and sorted by; the MAC makes every order a total one.
CREATE INDEX machines_by_ref ON machines (bty_image_ref, mac);
CREATE INDEX machines_by_mode ON machines (boot_mode, mac);
CREATE INDEX machines_by_seen ON machines (last_seen_at, mac);
CREATE INDEX machines_by_ip ON machines (last_seen_ip, mac);
CREATE INDEX machines_by_flashed ON machines (last_flashed_at, mac);
