using System.Globalization;

namespace Hypervisor.Agent.Drivers.Containerd.Spec;

/// <summary>Finds who "user", "uid", "user:group" or "uid:gid" is by an image's account files: a pure function.</summary>
internal static class AccountFiles
{
    /// <param name="passwd">Text of the image's /etc/passwd; null when it has none.</param>
    /// <param name="group">Text of the image's /etc/group; null when it has none.</param>
    /// <exception cref="DriverException">UserNotFound.</exception>
    public static ProcessIdentity Resolve(string user, string? passwd, string? group)
    {
        var colon = user.IndexOf(':');
        var userPart = colon < 0 ? user : user[..colon];
        var groupPart = colon < 0 ? "" : user[(colon + 1)..];
        if (userPart.Length == 0)
        {
            userPart = "0";
        }

        uint? number = TryId(userPart, out var uid) ? uid : null;
        var account = Lines(passwd, 4).FirstOrDefault(
            fields => fields[0] == userPart || (number is { } id && TryId(fields[2], out var other) && other == id));
        if (account is null && number is null)
        {
            throw NotFound(user, $"there is no user \"{userPart}\" in the image's /etc/passwd");
        }

        // An entry of that very name wins over its being a number, as in Docker.
        if (account is not null && TryId(account[2], out var accountUid))
        {
            uid = accountUid;
        }
        else if (account is not null)
        {
            throw NotFound(user, $"the entry of \"{userPart}\" in the image's /etc/passwd is damaged");
        }

        var gid = 0u;
        IReadOnlyList<uint> additional = [];
        if (groupPart.Length > 0)
        {
            gid = Group(user, groupPart, group);
        }
        else if (account is not null)
        {
            _ = TryId(account[3], out gid);
            additional = [.. Lines(group, 4)
                .Where(fields => fields[3].Split(',').Contains(account[0]))
                .Select(fields => TryId(fields[2], out var other) ? other : gid)
                .Where(other => other != gid)
                .Distinct()
                .Order()];
        }

        return new ProcessIdentity(uid, gid, additional);
    }

    private static uint Group(string user, string name, string? group)
    {
        var entry = Lines(group, 3).FirstOrDefault(fields => fields[0] == name);
        if (entry is not null && TryId(entry[2], out var gid))
        {
            return gid;
        }

        return TryId(name, out gid) ? gid : throw NotFound(user, $"there is no group \"{name}\" in the image's /etc/group");
    }

    private static IEnumerable<string[]> Lines(string? text, int fields) =>
        (text ?? "").Split('\n').Select(line => line.Trim().Split(':')).Where(parts => parts.Length >= fields && parts[0].Length > 0);

    /// <summary>Ids end below 2^31: runc's limit, and -1 means "unchanged" to the kernel.</summary>
    private static bool TryId(string text, out uint id) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out id) && id <= int.MaxValue;

    private static DriverException NotFound(string user, string why) =>
        new("UserNotFound", $"process.user: \"{user}\": {why}", permanent: true);
}
