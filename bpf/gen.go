package bpf

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target bpfel -go-package bpf -output-stem septum -type addr -type node_config -type endpoint -type endpoint_flags -type conn_flags -type pod -type address_key -type table_key -type table_value -type conn_key -type conn -type neighbour_key -type neighbour -type fragment_key -type fragment -type counter -type event -type reason septum src/septum.bpf.c -- -O2 -g -Wall -Wextra -Wno-unused-parameter -Werror -I src -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
