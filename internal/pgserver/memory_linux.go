package pgserver

import "syscall"

// memoryRoom is how much has to be free in memory for data to be kept there.
const memoryRoom = 4 << 30

// MemoryFolder returns a folder in memory that everybody may write to, "" where it is small, as it is in most containers.
func MemoryFolder() string {
	const folder = "/dev/shm"
	var free syscall.Statfs_t
	if err := syscall.Statfs(folder, &free); err != nil || free.Bavail*uint64(free.Bsize) < memoryRoom {
		return ""
	}
	return folder
}
