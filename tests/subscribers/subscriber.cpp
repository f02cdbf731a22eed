// Prints every message of a topic, one JSON line each: c++ subscriber.cpp -lzmq && ./a.out tcp://127.0.0.1:5570 event/
#include <iostream>
#include <string>
#include <zmq.hpp>  // cppzmq: apt-get install cppzmq-dev

int main(int argc, char **argv) {
    zmq::context_t context;
    zmq::socket_t socket(context, zmq::socket_type::sub);
    socket.set(zmq::sockopt::subscribe, argc > 2 ? argv[2] : "faces/");
    socket.connect(argc > 1 ? argv[1] : "tcp://127.0.0.1:5570");
    for (zmq::message_t frame; socket.recv(frame);) {
        const std::string text = frame.to_string();
        std::cout << text.substr(text.find(' ') + 1) << std::endl;  // "faces/cam0 {...}"
    }
}
