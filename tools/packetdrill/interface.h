// What packetdrill and a stack in a shared library hand each other (its --so_filename).
//
// The library exports packetdrill_interface_init, which fills the structure in. Every call takes
// `userdata` first and otherwise has the signature of the POSIX call of its name, errno included.
#pragma once

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

extern "C" {

// The order of the members is the interface.
struct packetdrill_interface {
  void* userdata;
  void (*free)(void* userdata);
  int (*socket)(void* userdata, int domain, int type, int protocol);
  int (*bind)(void* userdata, int fd, const struct sockaddr* address, socklen_t length);
  int (*listen)(void* userdata, int fd, int backlog);
  int (*accept)(void* userdata, int fd, struct sockaddr* address, socklen_t* length);
  int (*connect)(void* userdata, int fd, const struct sockaddr* address, socklen_t length);
  ssize_t (*read)(void* userdata, int fd, void* buffer, size_t count);
  ssize_t (*readv)(void* userdata, int fd, const struct iovec* iov, int count);
  ssize_t (*recv)(void* userdata, int fd, void* buffer, size_t count, int flags);
  ssize_t (*recvfrom)(void* userdata, int fd, void* buffer, size_t count, int flags,
                      struct sockaddr* address, socklen_t* length);
  ssize_t (*recvmsg)(void* userdata, int fd, struct msghdr* message, int flags);
  ssize_t (*write)(void* userdata, int fd, const void* buffer, size_t count);
  ssize_t (*writev)(void* userdata, int fd, const struct iovec* iov, int count);
  ssize_t (*send)(void* userdata, int fd, const void* buffer, size_t count, int flags);
  ssize_t (*sendto)(void* userdata, int fd, const void* buffer, size_t count, int flags,
                    const struct sockaddr* address, socklen_t length);
  ssize_t (*sendmsg)(void* userdata, int fd, const struct msghdr* message, int flags);
  int (*fcntl)(void* userdata, int fd, int command, ...);
  int (*ioctl)(void* userdata, int fd, unsigned long request, ...);
  int (*close)(void* userdata, int fd);
  int (*shutdown)(void* userdata, int fd, int how);
  int (*getsockopt)(void* userdata, int fd, int level, int name, void* value, socklen_t* length);
  int (*setsockopt)(void* userdata, int fd, int level, int name, const void* value,
                    socklen_t length);
  int (*poll)(void* userdata, struct pollfd* fds, nfds_t count, int timeout_ms);
  // A packet, IP header first, for the stack to receive.
  int (*netdev_send)(void* userdata, const void* packet, size_t count);
  // The next packet the stack sent and when (as gettimeofday tells time). *count: room, then size.
  // Not 0: there is none yet, try again.
  int (*netdev_receive)(void* userdata, void* packet, size_t* count, long long* time_usecs);
  int (*usleep)(void* userdata, useconds_t usec);
  int (*gettimeofday)(void* userdata, struct timeval* tv, struct timezone* tz);
  int (*epoll_create)(void* userdata, int size);
  int (*epoll_ctl)(void* userdata, int epfd, int operation, int fd, struct epoll_event* event);
  int (*epoll_wait)(void* userdata, int epfd, struct epoll_event* events, int most, int timeout_ms);
  int (*pipe)(void* userdata, int fds[2]);
  ssize_t (*splice)(void* userdata, int fd_in, loff_t* off_in, int fd_out, loff_t* off_out,
                    size_t length, unsigned int flags);
};

void packetdrill_interface_init(const char* flags, struct packetdrill_interface* interface);
}
