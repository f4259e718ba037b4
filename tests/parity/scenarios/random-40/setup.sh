ip -6 addr add 2001:db8:1::11/128 dev eth0 nodad
ipvsadm -A -t 192.0.2.11:443 -s nq
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.11:443 -g -w 1
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.16:443 -g -w 4
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.12:443 -g -w 100
ipvsadm -a -t 192.0.2.11:443 -r 198.51.100.15:443 -g -w 3
ipvsadm -A -u 192.0.2.11:53 -s wrr -p 30 -o
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.15:8080 -g -w 3
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.18:53 -g -w 1
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.12:53 -g -w 10 -x 1 -y 0
ipvsadm -a -u 192.0.2.11:53 -r 198.51.100.13:53 -g -w 1
ipvsadm -A -t 192.0.2.11:80 -s fo
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.18:80 -m -w 5
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.16:80 -m -w 4 -x 5 -y 0
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.17:80 -m -w 100
ipvsadm -a -t 192.0.2.11:80 -r 198.51.100.15:80 -m -w 1
sysctl -w net.ipv4.vs.expire_nodest_conn=0
sysctl -w net.ipv4.vs.sloppy_sctp=1
sysctl -w net.ipv4.vs.lblcr_expiration=60
