// Exit codes of the shell: the same for every command except diff, which follows diff(1).
#pragma once

namespace sluice {

inline constexpr int exit_ok = 0;
inline constexpr int exit_refused = 1;    // the product said no, and why
inline constexpr int exit_usage = 2;      // the command line or a file named in it is wrong
inline constexpr int exit_no_answer = 3;  // a process that is needed does not answer

// diff only: 0 no difference, 1 differences, above 1 an error. So a refusal is not 1 there.
inline constexpr int exit_differs = 1;
inline constexpr int exit_diff_refused = 2;

}  // namespace sluice
