namespace Hypervisor.Server.Groups;

/// <summary>The label by which members of a group are selected. The system's own: no request sets or changes it.</summary>
internal static class GroupLabel
{
    public const string Key = "hypervisor.zixiao/group";

    /// <summary>Selects the members of a group.</summary>
    public static string Selector(string group) => $"{Key}={group}";
}
