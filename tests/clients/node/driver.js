// Drives kafkajs by JSON lines; see the README of the clients for the language.
'use strict'

const readline = require('readline')
const kafkajs = require('kafkajs')
const { CompressionCodecs, CompressionTypes, ConfigResourceTypes, Kafka, logLevel } = kafkajs
const { AssignerProtocol } = kafkajs
const { KafkaJSProtocolError } = kafkajs
const { ZstdCodec } = require('zstd-codec')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')

// No lz4: what there is in plain JavaScript links its blocks, which Kafka refuses.
const CODECS = { none: 0, gzip: 1, snappy: 2, zstd: 4 }
const SOURCES = [
  'UNKNOWN',
  'DYNAMIC_TOPIC_CONFIG',
  'DYNAMIC_BROKER_CONFIG',
  'DYNAMIC_DEFAULT_BROKER_CONFIG',
  'STATIC_BROKER_CONFIG',
  'DEFAULT_CONFIG',
]

const kafka = new Kafka({
  clientId: 'kafkajs-driver',
  brokers: [process.argv[2]],
  logLevel: logLevel.NOTHING,
  retry: { initialRetryTime: 50, maxRetryTime: 1000, retries: 6 },
})
const admin = kafka.admin()

const bytes = text => (text === null ? null : Buffer.from(text, 'base64'))

const resource = command => ({
  type: command.resource === 'broker' ? ConfigResourceTypes.BROKER : ConfigResourceTypes.TOPIC,
  name: command.name,
})

const entries = configs => Object.entries(configs).map(([name, value]) => ({ name, value }))

// kafkajs does not throw for a topic that exists: it answers false.
class TopicExists extends Error {
  constructor() {
    super('createTopics answered false')
    this.name = 'false'
    this.type = 'TOPIC_ALREADY_EXISTS'
  }
}

const operations = {
  async create_topic({ topic, partitions, replication_factor, configs }) {
    const created = await admin.createTopics({
      topics: [
        {
          topic,
          numPartitions: partitions,
          replicationFactor: replication_factor,
          configEntries: entries(configs),
        },
      ],
    })
    if (!created) throw new TopicExists()
    return {}
  },

  async delete_topic({ topic }) {
    await admin.deleteTopics({ topics: [topic] })
    return {}
  },

  async list_topics() {
    return (await admin.listTopics()).sort()
  },

  async describe_topic({ topic }) {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    const partitions = topics[0].partitions
      .sort((a, b) => a.partitionId - b.partitionId)
      .map(({ partitionId, leader, replicas, isr }) => ({
        partition: partitionId,
        leader,
        replicas,
        isr,
      }))
    return { id: null, partitions }
  },

  async describe_config(command) {
    const answer = await admin.describeConfigs({
      resources: [resource(command)],
      includeSynonyms: false,
    })
    const described = {}
    for (const entry of answer.resources[0].configEntries) {
      described[entry.configName] = {
        value: entry.configValue,
        source: SOURCES[entry.configSource] || null,
        read_only: entry.readOnly,
        sensitive: entry.isSensitive,
      }
    }
    return described
  },

  async alter_config_legacy(command) {
    const change = { ...resource(command), configEntries: entries(command.set) }
    await admin.alterConfigs({ validateOnly: false, resources: [change] })
    return {}
  },

  async create_partitions({ topic, total }) {
    await admin.createPartitions({ topicPartitions: [{ topic, count: total }] })
    return {}
  },

  async delete_records({ topic, partition, before }) {
    const partitions = [{ partition, offset: String(before) }]
    // The library looks for the leader only in what it knows of topics it has asked about.
    await admin.fetchTopicOffsets(topic)
    await admin.deleteTopicRecords({ topic, partitions })
    return { low_watermark: null }
  },

  async describe_cluster() {
    const { clusterId, brokers } = await admin.describeCluster()
    const list = brokers.map(({ nodeId, host, port }) => ({ id: nodeId, host, port }))
    return { cluster_id: clusterId, brokers: list }
  },

  async produce({ topic, partition, codec, acks, idempotent, records }) {
    const producer = kafka.producer({ idempotent, allowAutoTopicCreation: true })
    await producer.connect()
    try {
      const messages = records.map(({ key, value, headers, timestamp }) => {
        const grouped = {}
        for (const [name, header] of headers) {
          grouped[name] = (grouped[name] || []).concat([bytes(header)])
        }
        return {
          key: bytes(key),
          value: bytes(value),
          partition,
          headers: grouped,
          timestamp: String(timestamp),
        }
      })
      const answers = await producer.send({ topic, acks, compression: CODECS[codec], messages })
      if (acks === 0) return { offsets: records.map(() => null) }
      const base = Number(answers[0].baseOffset)
      return { offsets: records.map((_, index) => base + index) }
    } finally {
      await producer.disconnect()
    }
  },

  async offset_for({ topic, partition, at }) {
    const all = await admin.fetchTopicOffsets(topic)
    const { low, high } = all.find(each => each.partition === partition)
    if (at === 'earliest') return { offset: Number(low), timestamp: null }
    if (at === 'latest') return { offset: Number(high), timestamp: null }
    const found = await admin.fetchTopicOffsetsByTimestamp(topic, at)
    const { offset } = found.find(each => each.partition === partition)
    // kafkajs answers a time behind the last record with the end of the partition.
    return { offset: offset === high ? null : Number(offset), timestamp: null }
  },

  async list_groups() {
    const { groups } = await admin.listGroups()
    return groups.map(({ groupId, protocolType }) => ({
      group: groupId,
      state: null,
      type: null,
      protocol_type: protocolType,
    }))
  },

  async describe_group({ group }) {
    const { groups } = await admin.describeGroups([group])
    const members = groups[0].members.map(member => {
      const decoded = AssignerProtocol.MemberAssignment.decode(member.memberAssignment)
      const assignment = decoded === null ? {} : decoded.assignment
      return {
        member_id: member.memberId,
        instance: null,
        client_id: member.clientId,
        host: member.clientHost,
        assignment: Object.entries(assignment).flatMap(([topic, partitions]) =>
          partitions.map(partition => [topic, partition])
        ),
      }
    })
    return { state: groups[0].state, type: null, assignor: groups[0].protocol, members }
  },

  async delete_group({ group }) {
    await admin.deleteGroups([group])
    return {}
  },

  async group_offsets({ group }) {
    const topics = await admin.fetchOffsets({ groupId: group })
    return topics.flatMap(({ topic, partitions }) =>
      partitions.map(({ partition, offset, metadata }) => [
        topic,
        partition,
        Number(offset),
        metadata,
      ])
    )
  },

  async alter_group_offsets({ group, topic, offsets }) {
    const partitions = offsets.map(([partition, offset]) => ({ partition, offset: String(offset) }))
    await admin.setOffsets({ groupId: group, topic, partitions })
    return {}
  },
}

const failure = error => {
  let inner = error
  for (let next = error; next; ) {
    inner = next
    const { errors, partitions, groups, originalError, cause } = inner
    next = (errors && errors[0]) || (partitions && partitions[0].error)
    next = next || (groups && groups[0].error)
    next = next || originalError || cause
  }
  const name = inner instanceof KafkaJSProtocolError ? 'KafkaJSProtocolError' : inner.name
  return { class: name, code: inner.type || inner.name, message: inner.message }
}

const answer = (kind, content) => process.stdout.write(JSON.stringify({ [kind]: content }) + '\n')

const serve = async () => {
  await admin.connect()
  answer('ok', {
    client: 'kafkajs',
    version: require('kafkajs/package.json').version,
    codecs: Object.keys(CODECS),
    operations: Object.keys(operations).sort(),
  })
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const command = JSON.parse(line)
    try {
      answer('ok', await operations[command.op](command))
    } catch (error) {
      console.error(error)
      answer('error', failure(error))
    }
  }
  await admin.disconnect()
}

ZstdCodec.run(zstd => {
  const simple = new zstd.Simple()
  CompressionCodecs[CompressionTypes.ZSTD] = () => ({
    compress: async encoder => Buffer.from(simple.compress(encoder.buffer)),
    decompress: async buffer => Buffer.from(simple.decompress(buffer)),
  })
  serve()
})
