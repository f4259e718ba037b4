//! The control client. Exit status: 0 when done, 1 when the director refuses or cannot be reached, 2 for a wrong command line; as
//! `ipvsadm`, ipvsadm's.

fn main() -> std::process::ExitCode {
    pollvs::cli::plain::main()
}
