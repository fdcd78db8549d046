// Written by docs/generate.py from the OpenAPI document. Do not edit.

export interface Account {
  password_from: string;
  is_default_password: boolean;
  why_fixed: string | null;
  sessions: number;
}

export interface Acknowledge {
  ids: number[] | null;
  open_failures: boolean;
  acknowledged: boolean;
}

export interface Acknowledged {
  id: number;
  acknowledged: boolean;
}

export interface AddEntry {
  image_url: string;
  sha_url: string | null;
  ref: string | null;
  name: string | null;
  sha256: string | null;
  format: ImageFormat | null;
  description: string | null;
}

export interface Added {
  src: string;
  bty_image_ref: string;
  disk_image_sha: string | null;
  name: string;
  sha_url: string | null;
  format: string | null;
  size_bytes: number | null;
  added_at: string;
}

export interface Artifact {
  name: string;
  status: string;
  bytes_done: number;
  bytes_total: number | null;
  error: string | null;
}

export interface Backup {
  enabled: boolean;
  cadence: string;
  retention_count: number;
  last_run_at: string | null;
}

export interface BackupChange {
  enabled?: boolean;
  cadence?: "daily" | "manual" | "weekly";
  retention_count?: number;
}

export interface BackupState {
  backup_id: string;
  status: string;
  started_at: number | null;
  finished_at: number | null;
  machines: number;
  bytes_done: number;
  dest_path: string;
  trigger: string;
  error: string | null;
}

export interface BackupStates {
  backups_root: string;
  max_parallel: number;
  backups: BackupState[];
}

export interface BootDirectory {
  boot_root: string;
  items: Listed[];
  missing: string[];
}

export type BootMode = "bty-flash-always" | "bty-flash-once" | "bty-inventory" | "bty-tui" | "ipxe-exit";

export interface BulkChange {
  do: Deed | null;
  set?: MachineChange;
  macs: string[] | null;
  label: string | null;
  each: OwnChange[];
}

export interface Cached {
  configured: boolean;
  hit: boolean | null;
  warmed: boolean | null;
}

export interface Changed {
  changed: number;
  macs: string[];
}

export interface Check {
  name: string;
  state: State;
  detail: string;
  hint: string;
  checked_at: string | null;
  running: boolean;
}

export interface ConfigChange {
  value: string | boolean | number | string[] | null;
}

export interface ConfigRow {
  file: string | null;
  restart_needed: boolean;
  keys: Key[];
}

export interface DeadLetter {
  event_id: number;
  kind: string;
  at: string;
  reason: string;
  again: boolean;
  id: number;
}

export type Deed = "delete" | "reset";

export interface Deleted {
  backup_id: string;
  bytes_on_disk: number;
}

export interface Differing {
  key: string;
  value: string | boolean | number | string[];
  here: string | boolean | number | string[];
}

export interface DiskBody {
  path: string;
  size: string | null;
  vendor: string | null;
  model: string | null;
  serial: string | null;
  tran: string | null;
  removable: boolean;
  readonly: boolean;
  size_bytes?: number;
  logical_sector_bytes?: number;
  wwn?: string | null;
  by_id?: string[];
  in_use?: string[];
}

export interface DoneBody {
  cycle: string | null;
  ref: string | null;
  name: string | null;
  source: string | null;
  format: string | null;
  sha256: string | null;
  verified: string[] | null;
  bytes_read: number | null;
  image_bytes: number | null;
  bytes_written: number | null;
  target_path: string | null;
  target_serial: string | null;
  seconds: number | null;
  retries: number | null;
  error: string | null;
  error_code: string | null;
  notes: string[] | null;
}

export interface EntryPage {
  items: EntryRow[];
  total: number;
  page: number;
  per_page: number;
}

export interface EntryRow {
  bty_image_ref: string;
  src: string;
  resolved_src: string | null;
  disk_image_sha: string | null;
  name: string;
  sha_url: string | null;
  format: string | null;
  size_bytes: number | null;
  description: string | null;
  added_at: string;
  arch?: string | null;
}

export interface Event {
  ts: string;
  kind: string;
  summary: string;
  subject_kind: string | null;
  subject_id: string | null;
  actor: string | null;
  source_ip: string | null;
  details: Record<string, any> | null;
  acknowledged: boolean;
  id: number;
}

export interface EventList {
  events: Event[];
  searched_to: number | null;
}

export interface Explanation {
  mac: string;
  now: NowRow;
  after: StepRow[];
}

export interface Found {
  src: string;
  origin: Origin;
  withcache: Cached;
  checked_at: string;
}

export interface HealthRow {
  ok: number;
  total: number;
  checks: Check[];
}

export interface Held {
  mac: string;
  boot_mode: string;
  bty_image_ref: string | null;
  target_disk_serial: string | null;
}

export interface HookList {
  items: HookRow[];
}

export interface HookRow {
  host: string;
  events: string[];
  signed: boolean;
  waiting: number;
  delivered: number;
  dead: DeadLetter[];
}

export interface Image {
  name: string;
  format: string;
  size_bytes: number;
  url: string;
  ref: string;
  sha_short: string | null;
  cached: boolean;
  arch: string | null;
}

export interface ImageCount {
  bty_image_ref: string;
  machines: number;
}

export type ImageFormat = "img" | "img.bz2" | "img.gz" | "img.xz" | "img.zst" | "qcow2";

export interface Imported {
  source: string;
  imported: number;
  skipped: number;
  errors: Refused[];
}

export interface InventoryBody {
  cycle: string | null;
  disks: DiskBody[];
  lshw: Record<string, any> | any[] | null;
}

export interface JobList {
  items: JobRow[];
}

export interface JobRow {
  id: string;
  kind: string;
  key: string;
  status: string;
  bytes_done: number;
  bytes_total: number | null;
  created_at: string;
  started_at: string | null;
  finished_at: string | null;
  error: string | null;
  details: Record<string, any>;
}

export interface Key {
  key: string;
  value: any;
  default: any;
  type: string;
  origin: string;
  env: string;
  is_set: boolean;
  is_secret: boolean;
  needs_restart: boolean;
  why_fixed: string | null;
}

export interface Letters {
  count: number;
}

export interface Listed {
  name: string;
  size_bytes: number;
  modified_at: string;
  sha256: string;
  is_required: boolean;
}

export type LocalBoot = "chain" | "exit" | "exit-nonzero";

export interface Log {
  lines: string[];
  upto: number;
  whole: boolean;
}

export interface LogBody {
  cycle: string | null;
  lines: string[];
}

export interface Login {
  password: string;
}

export interface MachineBody {
  bty_image_ref: string | null;
  labels: string[];
  boot_mode: BootMode;
  sanboot_drive: string | null;
  uefi_local_boot: LocalBoot;
  target_disk_serial: string | null;
}

export interface MachineChange {
  bty_image_ref?: string | null;
  labels?: string[];
  boot_mode?: BootMode;
  sanboot_drive?: string | null;
  uefi_local_boot?: LocalBoot;
  target_disk_serial?: string | null;
}

export interface MachinePage {
  items: MachineRow[];
  total: number;
  page: number;
  per_page: number;
}

export interface MachineRow {
  mac: string;
  bty_image_ref: string | null;
  labels: string[];
  discovered_at: string | null;
  last_seen_at: string | null;
  last_seen_ip: string | null;
  boot_mode: string;
  sanboot_drive: string | null;
  last_flashed_at: string | null;
  flashed_at: string | null;
  known_disks_at: string | null;
  target_disk_serial: string | null;
  created_at: string;
  updated_at: string;
  boot_state: string;
  cycle_state: string | null;
  cycle_attempts: number;
  flash_error: string | null;
  uefi_local_boot: string | null;
  known_disks: Record<string, any>[] | null;
  last_flash: Record<string, any> | null;
  progress: Progress | null;
}

export interface MadeToken {
  id: number;
  name: string;
  created_at: string;
  last_used_at: string | null;
  token: string;
}

export interface ModeCount {
  boot_mode: string;
  machines: number;
}

export interface NewToken {
  name: string;
}

export interface NowRow {
  script: string;
  offer_kind: string;
  rule: string;
  then: string;
  repeats: boolean;
  text: string;
  plan: Record<string, any>;
}

export interface Origin {
  reachable: boolean;
  size_bytes: number | null;
  format: string | null;
  error: string | null;
}

export interface Outcome {
  version: number;
  machines: number;
  images: number;
  images_kept: number;
  settings: string[];
  configuration: Differing[];
  armed: boolean;
  held: Held[];
}

export interface OverviewRow {
  total: number;
  unassigned: number;
  failed: number;
  flashing: number;
  last_seen_at: string | null;
  last_flashed_at: string | null;
  modes: ModeCount[];
  images: ImageCount[];
  running: MachineRow[];
}

export interface OwnChange {
  bty_image_ref?: string | null;
  labels?: string[];
  boot_mode?: BootMode;
  sanboot_drive?: string | null;
  uefi_local_boot?: LocalBoot;
  target_disk_serial?: string | null;
  mac: string;
}

export interface PasswordChange {
  current: string;
  new: string;
}

export interface Problem {
  detail: string | Record<string, any>[];
}

export interface Progress {
  stage: string;
  bytes: number;
  at: string;
  total: number | null;
  rate: number | null;
  trouble: string | null;
}

export interface ProgressBody {
  cycle: string | null;
  stage: string;
  bytes: number;
  total: number | null;
  rate: number | null;
  trouble: string | null;
}

export interface Refused {
  name: string;
  error: string;
}

export interface Release {
  tag: string;
}

export interface ReleaseState {
  job: string;
  tag: string;
  status: string;
  bytes_done: number;
  bytes_total: number | null;
  artifact: string | null;
  started_at: number | null;
  finished_at: number | null;
  error: string | null;
  base_url: string;
  artifacts: Artifact[];
}

export interface ReleaseStates {
  boot_root: string;
  max_parallel: number;
  fetches: ReleaseState[];
}

export interface SettingsChange {
  upstream?: UpstreamChange;
  backup?: BackupChange;
}

export interface SettingsRow {
  upstream: Upstream;
  backup: Backup;
}

export interface Source {
  src: string;
}

export interface SshBody {
  authorized_keys: string[];
  password_hash: string | null;
}

export interface StageRow {
  stage: string;
  state: string;
  at: string | null;
  detail: string;
}

export interface StartBackup {
  trigger: "manual" | "scheduled";
}

export type State = "failed" | "info" | "ok";

export interface Status {
  status: string;
}

export interface StatusBody {
  cycle: string | null;
  ref: string | null;
  name: string | null;
  source: string | null;
  format: string | null;
  sha256: string | null;
  verified: string[] | null;
  bytes_read: number | null;
  image_bytes: number | null;
  bytes_written: number | null;
  target_path: string | null;
  target_serial: string | null;
  seconds: number | null;
  retries: number | null;
  error: string | null;
  error_code: string | null;
  notes: string[] | null;
  status: "done" | "failed";
  message: string | null;
}

export interface StepRow {
  script: string;
  offer_kind: string;
  rule: string;
  then: string;
  repeats: boolean;
}

export interface StopRow {
  stage: string;
  since: string;
  reason: string;
  causes: string[];
}

export interface Stored {
  name: string;
  size_bytes: number;
  path: string;
}

export interface StoredBackup {
  backup_id: string;
  bytes_on_disk: number;
  created_at: string;
  version: number | null;
  machines: number | null;
  images: number | null;
  settings: number | null;
}

export interface StoredList {
  backups_root: string;
  items: StoredBackup[];
}

export interface TimelineRow {
  mac: string;
  began_at: string | null;
  attempts: number;
  stages: StageRow[];
  stopped: StopRow | null;
}

export interface TokenList {
  items: TokenRow[];
}

export interface TokenRow {
  id: number;
  name: string;
  created_at: string;
  last_used_at: string | null;
}

export interface Updated {
  updated: number;
  acknowledged: boolean;
}

export interface Upstream {
  netboot_repo: string;
  netboot_tag: string;
  catalog_url: string;
}

export interface UpstreamChange {
  netboot_repo?: string | null;
  netboot_tag?: string | null;
  catalog_url?: string | null;
}

export interface Version {
  version: string;
}
