// Machines and disks as the daemon answers them.

export const disk = (serial, size_bytes = 1e12, more = {}) => ({
  path: "/dev/sda", size: null, vendor: null, model: "M", serial, tran: "sata", removable: false, readonly: false, size_bytes, ...more,
});
export const machine = (number, more = {}) => ({
  mac: `52:54:00:00:00:${String(number).padStart(2, "0")}`, bty_image_ref: null, labels: [], last_seen_ip: null, last_seen_at: null, boot_mode: "bty-inventory",
  target_disk_serial: null, known_disks: null, cycle_state: null, boot_state: "", flash_error: null, progress: null, flashed_at: null, updated_at: "2026-01-01", ...more,
});
