/* Preloaded into Postgres, it makes every sync to the disk take longer: the disk
 * of a virtual machine often acknowledges in microseconds what a durable one does
 * in milliseconds. SLOWSYNC_MICROSECONDS says how much longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>

static void delay(void) {
	static long microseconds = -1;
	if (microseconds < 0) {
		const char *text = getenv("SLOWSYNC_MICROSECONDS");
		microseconds = text ? atol(text) : 0;
	}
	struct timespec left = {microseconds / 1000000, microseconds % 1000000 * 1000};
	int before = errno;
	while (nanosleep(&left, &left) != 0 && errno == EINTR)
		;
	errno = before;
}

int fdatasync(int fd) {
	static int (*original)(int);
	if (!original)
		original = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	delay();
	return original(fd);
}

int fsync(int fd) {
	static int (*original)(int);
	if (!original)
		original = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
	delay();
	return original(fd);
}
