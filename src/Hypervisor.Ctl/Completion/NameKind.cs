namespace Hypervisor.Ctl.Completion;

/// <summary>What an argument names.</summary>
internal enum NameKind
{
    None,
    Instances,
    Groups,
    Nodes,
    Images,
    Contexts,
    Files,
}
