// The main() of every tool: they are compiled together, and TOOL says which of them this program is.
namespace sluice::tools::TOOL {
int run(int argc, char** argv);
}

int main(int argc, char** argv) { return sluice::tools::TOOL::run(argc, argv); }
