/* SPDX-License-Identifier: Apache-2.0 */
/* Looks a name up by the C library's own resolver and connects to port 80 of what it is told: resolve NAME. */
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found, *a;
	int err;

	if (argc != 2)
		return 2;
	err = getaddrinfo(argv[1], "80", &hints, &found);
	if (err) {
		printf("no address: %s\n", gai_strerror(err));
		return 1;
	}
	for (a = found; a; a = a->ai_next) {
		int s = socket(a->ai_family, a->ai_socktype, a->ai_protocol);

		if (s >= 0 && connect(s, a->ai_addr, a->ai_addrlen) == 0) {
			printf("connected\n");
			return 0;
		}
		close(s);
	}
	printf("not connected\n");
	return 1;
}
