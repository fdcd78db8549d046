// What travels between the daemon and the application: what the API says of itself, and what it leaves open.

import type { DiskBody, DoneBody, EntryRow, Event as EventRow, MachineRow, Progress as ProgressRow } from "./api.js";

export type Disk = DiskBody;
export type Progress = ProgressRow;
export type Entry = EntryRow;
export type AuditEvent = EventRow;

/** What a flasher said it did, every field optional, and what the daemon adds. */
export type Receipt = { [Name in keyof DoneBody]?: Exclude<DoneBody[Name], null> } & { at?: string; unverified?: boolean };

export type Machine = Omit<MachineRow, "known_disks" | "last_flash"> & { known_disks: Disk[] | null; last_flash: Receipt | null };

export interface PageOf<Item> {
  items: Item[];
  total: number;
  page: number;
  per_page: number;
}
