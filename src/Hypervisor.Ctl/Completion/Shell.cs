namespace Hypervisor.Ctl.Completion;

internal enum Shell
{
    Bash,
    Zsh,
    Fish,
}
