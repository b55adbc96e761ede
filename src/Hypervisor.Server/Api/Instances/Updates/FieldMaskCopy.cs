using System.Collections;
using Google.Protobuf;
using Google.Protobuf.Reflection;

namespace Hypervisor.Server.Api.Instances.Updates;

/// <summary>Takes over what a field mask names: maps, lists and messages as a whole, absent ones as absent.</summary>
internal static class FieldMaskCopy
{
    /// <summary>Whether the path leads to a field of the message, only through single messages.</summary>
    public static bool Exists(MessageDescriptor type, string path)
    {
        var names = path.Split('.');
        for (var index = 0; index < names.Length; index++)
        {
            if (type.FindFieldByName(names[index]) is not { } field)
            {
                return false;
            }

            if (index == names.Length - 1)
            {
                return true;
            }

            if (field.FieldType != FieldType.Message || field.IsRepeated)
            {
                return false;
            }

            type = field.MessageType;
        }

        return false;
    }

    /// <param name="from">Not used any more afterwards: parts of it become parts of <paramref name="to"/>.</param>
    public static void Copy(IMessage from, IMessage to, string path) => Copy(from, to, path.Split('.'));

    private static void Copy(IMessage? from, IMessage to, ReadOnlySpan<string> path)
    {
        var field = to.Descriptor.FindFieldByName(path[0]);
        if (path.Length > 1)
        {
            if (field.Accessor.GetValue(to) is not IMessage inner)
            {
                inner = field.MessageType.Parser.ParseFrom(ByteString.Empty);
                field.Accessor.SetValue(to, inner);
            }

            Copy(from is null ? null : (IMessage?)field.Accessor.GetValue(from), inner, path[1..]);
            return;
        }

        field.Accessor.Clear(to);
        if (from is null)
        {
            return;
        }

        switch (field.Accessor.GetValue(from))
        {
            case IDictionary map:
                var target = (IDictionary)field.Accessor.GetValue(to);
                foreach (DictionaryEntry entry in map)
                {
                    target.Add(entry.Key, entry.Value);
                }

                break;
            case IList list:
                var items = (IList)field.Accessor.GetValue(to);
                foreach (var item in list)
                {
                    items.Add(item);
                }

                break;
            case { } value:
                field.Accessor.SetValue(to, value);
                break;
        }
    }
}
