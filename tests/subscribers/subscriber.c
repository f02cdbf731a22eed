/* Prints every message of `faces/`, one JSON line each: cc subscriber.c -lzmq && ./a.out tcp://127.0.0.1:5570 */
#include <stdio.h>
#include <string.h>
#include <zmq.h>

int main(int argc, char **argv) {
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_SUB);
    zmq_setsockopt(socket, ZMQ_SUBSCRIBE, "faces/", 6);
    if (zmq_connect(socket, argc > 1 ? argv[1] : "tcp://127.0.0.1:5570") != 0) return 1;
    for (;;) {
        zmq_msg_t frame;
        zmq_msg_init(&frame);
        int size = zmq_msg_recv(&frame, socket, 0);
        if (size < 0) return 1;
        const char *text = zmq_msg_data(&frame), *body = memchr(text, ' ', (size_t)size);
        if (body != NULL) printf("%.*s\n", (int)(text + size - body - 1), body + 1);
        fflush(stdout);
        zmq_msg_close(&frame);
    }
}
