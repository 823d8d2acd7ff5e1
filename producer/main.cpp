#include <fmt/format.h>

#include <cstdio>
#include <exception>

#include "common/errors.h"
#include "common/util/signals.h"
#include "producer/cli.h"

int main(int argc, char** argv) {
  try {
    const millrace::Signals signals;
    return millrace::producer::run_cli(argc, argv, signals);
  } catch (const std::exception& error) {
    fmt::print(stderr, "millrace-producer: {}\n", error.what());
    return millrace::exit_code(millrace::ErrorCode::internal);
  }
}
