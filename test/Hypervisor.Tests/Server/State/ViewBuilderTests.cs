using Google.Protobuf;
using Hypervisor.Server.State;
using Hypervisor.Server.Stores;
using Hypervisor.Server.Stores.Records;
using Xunit;

namespace Hypervisor.Tests.Server.State;

/// <summary>Protects: the key of a specification is a name, and whose it is follows from what the store did, whatever comes in one step.</summary>
public sealed class ViewBuilderTests
{
    private readonly OrphanedParts _orphans = new();

    [Fact]
    public void A_name_passes_from_one_instance_to_another_within_one_step()
    {
        var view = Build(ClusterView.Empty, 2, builder => builder.Put(Spec("web", "a", 2)));

        view = Build(view, 4, builder =>
        {
            builder.Delete(Keys.Spec("default", "web"), 3);
            builder.Put(Spec("web", "b", 4));
        });

        Assert.Null(view.Instance(new("a")));
        Assert.Equal("b", view.InstanceByName("default", "web")!.Id.Value);
        Assert.Equal(1, view.InstanceCount);
    }

    [Fact]
    public void What_is_made_and_deleted_within_one_step_is_not_there()
    {
        var view = Build(ClusterView.Empty, 3, builder =>
        {
            builder.Put(Spec("web", "a", 2));
            builder.Delete(Keys.Spec("default", "web"), 3);
        });

        Assert.Equal(0, view.InstanceCount);
    }

    [Fact]
    public void Deleting_a_name_that_nobody_holds_changes_nothing()
    {
        var view = Build(ClusterView.Empty, 2, builder => builder.Put(Spec("web", "a", 2)));

        view = Build(view, 3, builder => builder.Delete(Keys.Spec("default", "other"), 3));

        Assert.Equal("a", Assert.Single(view.Instances).Id.Value);
    }

    [Theory]
    [InlineData("instances/spec/5f4b3a90-0000-4000-8000-000000000000", "a")]
    [InlineData("instances/spec/default/web", "")]
    public void A_record_that_does_not_say_whose_it_is_or_is_under_another_key_is_refused(string key, string uid)
    {
        var builder = new ViewBuilder(ClusterView.Empty, _orphans);

        var refused = Assert.Throws<CorruptRecordException>(() => builder.Put(Spec("web", uid, 2) with { Key = key }));

        Assert.Contains(key, refused.Message, StringComparison.Ordinal);
    }

    private ClusterView Build(ClusterView before, long revision, Action<ViewBuilder> change)
    {
        var builder = new ViewBuilder(before, _orphans);
        change(builder);
        return builder.Build(revision).View;
    }

    private static KeyValue Spec(string name, string uid, long revision)
    {
        var record = new InstanceSpecRecord { Metadata = new() { Name = name, Project = "default", Uid = uid }, Spec = new() };
        return new(Keys.Spec("default", name), record.ToByteArray(), revision, revision, 1);
    }
}
