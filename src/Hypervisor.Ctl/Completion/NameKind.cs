namespace Hypervisor.Ctl.Completion;

/// <summary>What an argument names.</summary>
internal enum NameKind
{
    None,
    Instances,
    Nodes,
    Images,
    Contexts,
    Files,
}
